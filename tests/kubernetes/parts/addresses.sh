# Which addresses there are. Clusters may share them: each has a network of its own.
# shellcheck shell=bash disable=SC2034

nodes=(1 2)
host=10.90.0.1              # of the control plane: API server and DNS
host6=fd90::1
service_range=10.96.0.0/16,fd96::/112
dns=10.96.0.10
dns6=fd96::a

node_address() { echo "10.90.0.1$1"; }
node_address6() { echo "fd90::1$1"; }
pod_range() { echo "10.88.$1.0/24"; }
pod_range6() { echo "fd88:0:0:$1::/64"; }
