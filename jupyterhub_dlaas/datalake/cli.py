"""The command `datalake`, for scientists in the terminal of their server."""

from __future__ import annotations

import importlib
import pkgutil

import click

from jupyterhub_dlaas.datalake import commands


class _Folder(click.Group):
    """Its commands are the modules of the folder `commands`, but `_x`; each is imported when it is called or listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        names = (module.name for module in pkgutil.iter_modules(commands.__path__))
        return sorted(name.replace("_", "-") for name in names if not name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        module = importlib.import_module(f"{commands.__name__}.{cmd_name.replace('-', '_')}")
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Each with its whole first sentence, which click would cut."""
        found = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(limit=500)) for name, command in found if command])


@click.group(cls=_Folder, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """The data lake in this server: your access to it, your data in it.

    A DID is written scope:name, and may be a file, a dataset or a container.

    \b
    Exit codes of every command:
      0  done
      1  some of it was not done
      2  used wrongly, or this is not a data lake server
      3  not found
      4  refused: your sign-in, or a permission
      5  no space: a quota, or a disk
      6  unreachable: Rucio or a storage
      7  bad data: a checksum is wrong, or a file changed
      8  not here yet: not on the mounted storage
    130  interrupted

    \b
    Examples:
      datalake status
      datalake find 'user.alice:*'
      datalake path user.alice:run-7 --wait
    """


if __name__ == "__main__":
    main()
