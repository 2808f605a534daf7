"""Tables that show what trained networks are worth: synthetic protocols, real footage. No torch."""
