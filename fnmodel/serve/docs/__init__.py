"""An OpenAPI document goes in; one page that shows it and tries it comes out."""
