"""The bridge: progress from Kafka to people, over Server-Sent Events and a page."""
