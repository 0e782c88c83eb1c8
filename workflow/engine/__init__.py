"""How stages run: the job table, its reconciler, Celery tasks, services and their supervisor."""
