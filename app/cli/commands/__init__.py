"""Arguments and help texts of every command. What a command does is imported when it runs, not before."""
