"""Database tables, row to domain mapping, repositories, unit of work, audit."""
