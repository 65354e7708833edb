"""The command `stpa`: the command line, without the current folder on its path."""

from stpa.safe_path import leave_out_current_folder


def main() -> None:
    """Run the command line."""
    leave_out_current_folder()
    from stpa.cli import main as run_command_line  # imports what a file there could hide

    run_command_line()
