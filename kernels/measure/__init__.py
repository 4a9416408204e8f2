"""What the machine is and can do, and how long things take: timing, machine, ceilings and result files."""
