"""Stories: what people and agents do in a day, told in tests."""
