"""Its being here lets every test folder import ``oracle``."""
