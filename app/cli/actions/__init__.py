"""Actions of the commands. `app.cli.commands` has their arguments and help texts, and imports an action when it runs."""
