"""Where supervisors' work is kept: lists, claims, questions, absences."""
