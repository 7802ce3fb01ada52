"""Why a fit came out as it did: derivatives of its loss."""
