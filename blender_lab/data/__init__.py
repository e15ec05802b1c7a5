"""Records of preference data and of MixInstruct, and the files they are read from."""
