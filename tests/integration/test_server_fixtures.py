"""The fixtures hand out servers that are empty and nobody else's."""

import psycopg
import redis


def test_postgres_database_is_empty_and_usable(postgres_url):
    with psycopg.connect(postgres_url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE job (id int)")
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
    assert tables == [("job",)]


def test_redis_database_holds_its_mark_alone_and_cannot_be_claimed_again(redis_url):
    with redis.Redis.from_url(redis_url) as client:
        assert client.keys() == [b"convpress_test"]
        assert client.set("convpress_test", "another", nx=True) is None
