"""The packages of the wheel, with the files of dags/ as millrace/airflow/dags; all else is in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup

# Beside the code, metadata of an earlier build would count as a second installation and as a second Airflow plugin.
Path("build").mkdir(exist_ok=True)

setup(
    packages=[*find_packages("pipeline"), *find_packages(include=["sse_bridge"]), "millrace.airflow.dags"],
    package_dir={"millrace": "pipeline/millrace", "millrace.airflow.dags": "dags"},
    options={"egg_info": {"egg_base": "build"}},
)
