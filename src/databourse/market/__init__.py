"""The market: traders order shares of documents, an LMSR maker per topic prices them."""
