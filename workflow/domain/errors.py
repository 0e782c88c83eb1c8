"""What this project raises on purpose: the class says what the machine does next."""


class WorkflowError(Exception):
    """Base of what this project raises on purpose."""


class TransientError(WorkflowError):
    """The PACS, the database or a GPU was not there. The job is retried with backoff."""


class ConflictError(TransientError):
    """Another worker wrote the same at the same moment. Retried a few times; what goes on is a bug."""


class ProcessLostError(TransientError):
    """The process that carried a job out died, hung or used too much. A few times it is tried again."""


class StoppedError(WorkflowError):
    """This process was told to end: the job is put back, as if nobody had begun."""


class CanceledError(WorkflowError):
    """A person asked that a job end. The message is their reason."""


class UnsuitableInputError(WorkflowError):
    """This input can't be used. Never retried: it is kept and a person is shown why."""


class GoneError(UnsuitableInputError):
    """What a job is about is not there (any more). It ends, and nobody has to do anything."""


class ConfigurationError(WorkflowError):
    """A setting, a weight file or a licence stands in the way. The message names the next step."""
