"""KSeF as all processes share it: requests counted against its limits (`quota`), and its availability (`outages`)."""
