"""What the bridge says, in Elastic Common Schema: findings, inventories, heartbeats and responses as documents."""
