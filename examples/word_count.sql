-- Count words: run with `thalweg run examples/word_count.sql` from the root of the repository.
CREATE TABLE lines USING text OPTIONS (path 'examples/data/words');

CREATE TABLE out USING console OPTIONS (outputMode 'complete', trigger 'availableNow', queryName 'word_count');

INSERT INTO out
SELECT word, count(*) AS count
FROM (SELECT explode(split(lower(value), ' ')) AS word FROM STREAM lines)
GROUP BY word
ORDER BY count DESC, word;
