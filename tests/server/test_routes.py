def test_every_answer_is_described(server):
    schema = server.ask("GET", "/openapi.json").json
    parts = schema["components"]["schemas"]
    for name in str(schema).split("#/components/schemas/")[1:]:
        assert name.split("'")[0] in parts
    for routes in schema["paths"].values():
        for route in routes.values():
            assert "422" not in route["responses"]
            assert "default" in route["responses"]
