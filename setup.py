"""The part of the packaging that pyproject.toml cannot say.

The migrations lie in `alembic/`; an installed service finds them in `app/db`.
"""

from setuptools import find_packages, setup

MIGRATIONS = "app.db.migration_scripts"

setup(
    packages=[*find_packages(include=["app*", "convpress*", "worker*"]), MIGRATIONS],
    package_dir={MIGRATIONS: "alembic"},
    package_data={
        "app.dashboard": ["templates/*", "static/*", "static/vendor/*"],
        "convpress": ["py.typed"],
        "worker.engine.costs": ["shipped/*"],
        "worker.engine.calibration.inputs": ["scenes/*"],
        MIGRATIONS: ["*.mako", "versions/*.py"],
    },
)
