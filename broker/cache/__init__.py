"""The answer cache: how long an answer may be used (`freshness`), where it is kept (`environment`, `store`)."""
