"""HTTP/1.1 on bare protocols, both sides of a router. Knows nothing of models, sessions or engines.

    client -> Inlet -> Request, Reply            who asks (``Server`` listens)
    Destination -> Link -> Incoming -> peer      who answers (``Links`` keeps the connections)

Up to the first byte of an answer a request is a coroutine; from there on bytes are relayed inside
``data_received``, so that a token wakes no task.
"""
