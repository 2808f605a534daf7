"""Measures presentation-attack detection: metrics, intervals by person, report. No torch."""
