"""What a person looks at: contact sheets, and tables on the terminal."""
