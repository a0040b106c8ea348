from codomyrmex.deployment import (
    DeploymentManager,
    GitOpsSynchronizer,
    RollingDeployment,
    BlueGreenDeployment,
    CanaryDeployment,
    create_strategy,
    DeploymentTarget,
)

# Simple deployment with default rolling strategy
manager = DeploymentManager()
success = manager.deploy("auth-service", "v2.1.0")
print(f"Deployment successful: {success}")

# Deploy with a specific strategy
canary = CanaryDeployment()
success = manager.deploy("api-gateway", "v3.0.0", strategy=canary)

# Use the strategy factory
strategy = create_strategy("blue_green")
success = manager.deploy("web-frontend", "v1.5.0", strategy=strategy)

# View deployment history
history = manager.get_deployment_history()
for entry in history:
    print(f"{entry['service']} -> {entry['version']} ({entry['strategy']}): {'OK' if entry['success'] else 'FAILED'}")

# Rollback to a previous version
manager.rollback("auth-service", "v2.0.0")

# GitOps synchronization
gitops = GitOpsSynchronizer(
    repo_url="https://github.com/org/deploy-configs",
    local_path="/tmp/deploy-configs",
    branch="main",
)
gitops.sync()
print(f"Synced version: {gitops.get_version()}")
print(f"Is synced: {gitops.is_synced()}")
