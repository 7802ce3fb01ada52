"""What people have told a service, in a database."""
