"""Pure answers, one file a question: facts, limits and now in, verdict out."""
