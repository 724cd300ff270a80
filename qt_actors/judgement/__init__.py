"""Those who may say no: governor and orchestrator."""
