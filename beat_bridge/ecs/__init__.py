"""What was seen and done, as ECS documents."""
