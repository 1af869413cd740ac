"""What each command does. The package `app.cli.commands` has the arguments and help texts and imports an action when it runs."""
