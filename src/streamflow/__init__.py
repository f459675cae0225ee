"""streamflow: a runtime for streaming LLM, voice and multimodal pipelines."""

__version__ = "0.1.0.dev0"
