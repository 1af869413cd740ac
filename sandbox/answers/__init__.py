"""The answers of every operation as models: what leaves the sandbox is held against them first.

Members, forms and bounds as in KSeF API 2.9; a member too many is as wrong as one too few. The models are also what
the sandbox's own OpenAPI document says (`sandbox.endpoints.openapi`).
"""
