"""The packages of the wheel, with the files of dags/ as millrace/airflow/dags; all else is in pyproject.toml."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages("pipeline"), *find_packages(include=["sse_bridge"]), "millrace.airflow.dags"],
    package_dir={"millrace": "pipeline/millrace", "millrace.airflow.dags": "dags"},
)
