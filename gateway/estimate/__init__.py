"""What a call can cost at most, in tokens, read from its bytes before it is sent.

Pure: no input or output, no clock. `read_request` reads, `gateway.tokens.TokenCounter` counts, `bound` adds up.
"""

from gateway.estimate.bounding import Bound, Counts, bound, read_request
from gateway.estimate.models import encoding_of
from gateway.estimate.request import Request, RequestInvalid

__all__ = ["Bound", "Counts", "Request", "RequestInvalid", "bound", "encoding_of", "read_request"]
