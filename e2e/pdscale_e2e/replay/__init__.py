"""Real traffic: traces read, shaped to a time budget, and sent to an OpenAI endpoint as they came."""
