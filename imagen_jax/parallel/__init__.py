"""The mesh of devices, the processes of a job, how programs are compiled."""
