"""The bridge: progress from Kafka to clients, as Server-Sent Events and as a web page."""
