"""A tagger behind HTTP: `application` has the routes, `batching` the predictions, `models` what is served."""
