"""The HTTP room: what each request is answered, on the hot side and behind FastAPI alike."""
