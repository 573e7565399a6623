module paydispatch/deploy/compose/vendors

go 1.26.0

require paydispatch v0.0.0

replace paydispatch => ../../..
