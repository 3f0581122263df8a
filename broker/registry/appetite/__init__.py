"""The company's risk appetite: tables that people read, compiled into Cedar rules."""
