"""What this project raises on purpose: the class says what the machine does next."""


class WorkflowError(Exception):
    """Base of what this project raises on purpose."""


class TransientError(WorkflowError):
    """The PACS, the database or a GPU was not there. The job is retried with backoff."""


class ConflictError(TransientError):
    """Another worker wrote the same at the same moment. Retried a few times; what goes on is a bug."""


class UnsuitableInputError(WorkflowError):
    """This input can't be used. Never retried: it is kept and a person is shown why."""


class ConfigurationError(WorkflowError):
    """A setting, a weight file or a licence stands in the way. The message names the next step."""
