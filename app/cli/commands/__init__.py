"""Arguments and help texts of every command. A command imports its action when it runs, not before."""
