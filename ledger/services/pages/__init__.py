"""What documents for people share, whatever they tell: paper, figures, charts, HTML, typesetting and workbooks.

A form (``services.statements.html_form`` and its neighbours, and reports after them) says what stands where; the
modules here say how it looks and how it is kept safe: no text of a user ever becomes markup, a formula or a command.
"""
