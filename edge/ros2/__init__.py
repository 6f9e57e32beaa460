"""ROS 2 without ROS: what rmw_zenoh puts on the network, so that nodes of ROS read it. docs/ros2.md."""
