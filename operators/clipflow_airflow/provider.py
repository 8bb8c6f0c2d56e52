"""What Airflow is told about this provider: its connection type, and the form of it."""

from typing import Any

_OPERATORS = ["clipflow_airflow.embed", "clipflow_airflow.operator", "clipflow_airflow.tables"]


def get_provider_info() -> dict[str, Any]:
    """The entry point `apache_airflow_provider`."""
    return {
        "package-name": "clipflow",
        "name": "clipflow",
        "description": "Batch image embedding: Airflow triggers Ray, Ray fills Lance tables.",
        "integrations": [{"integration-name": "Ray", "external-doc-url": "https://docs.ray.io", "tags": ["software"]}],
        "operators": [{"integration-name": "Ray", "python-modules": _OPERATORS}],
        "hooks": [{"integration-name": "Ray", "python-modules": ["clipflow_airflow.hook"]}],
        "triggers": [
            {"integration-name": "Ray", "python-modules": ["clipflow_airflow.trigger", "clipflow_airflow.uploads"]}
        ],
        "extra-links": ["clipflow_airflow.links.RayJobLink", "clipflow_airflow.links.RunPageLink"],
        "connection-types": [
            {
                "connection-type": "ray",
                "hook-class-name": "clipflow_airflow.hook.RayJobsHook",
                "hook-name": "Ray Jobs",
                "ui-field-behaviour": {
                    "hidden-fields": ["login", "extra"],
                    # Airflow 3.3's Test sends 0 for an empty port, and then refuses it as another address.
                    "relabeling": {
                        "host": "Dashboard URL or host",
                        "port": "Port (for Test)",
                        "schema": "Scheme",
                        "password": "Token",
                    },
                    "placeholders": {"host": "https://ray.example.com", "port": "8265", "schema": "http"},
                },
                "conn-fields": _fields(),
            }
        ],
    }


def _fields() -> dict[str, Any]:
    return {
        "verify": {
            "label": "Verify TLS",
            "schema": {"type": ["boolean", "null"], "default": True},
            "description": "Refuse a certificate that is not trusted. Leave on.",
        },
        "ca_file": {
            "label": "CA file",
            "schema": {"type": ["string", "null"]},
            "description": "Path, on the workers, of the certificates to trust instead of the system's.",
        },
        "headers": {
            "label": "Headers",
            "schema": {"type": ["string", "null"]},
            "description": "JSON object of extra request headers, for a proxy in front of Ray.",
        },
        "poll_seconds": {
            "label": "Poll seconds",
            "schema": {"type": ["number", "null"], "default": 5, "exclusiveMinimum": 0},
            "description": "How often to ask Ray how a job is doing.",
        },
    }
