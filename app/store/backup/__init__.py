"""Backup of an installation on one machine: its embedded database and its local folder of blobs, in one file.

archive      the file: a tar with hashes and a seal
blob_files   blobs of the folder, among them those that are removed meanwhile
make         the online backup
restore      the way back, into an empty installation
"""
