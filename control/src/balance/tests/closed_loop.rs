//! Every strategy against the integer optimum, at speeds from 1:1 to 1:8 and with two to five peers.
