"""Where brokers reach the runner."""
